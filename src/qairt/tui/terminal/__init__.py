"""The terminal itself: driver, clipboard, glyphs."""
