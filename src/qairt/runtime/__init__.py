"""Running quantized parts: chained into a decoder, on the CPU, the emulator or Genie; text generation."""
