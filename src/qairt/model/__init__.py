"""What a decoder is: its configuration, its weights read tensor by tensor, and its mathematics written once."""
