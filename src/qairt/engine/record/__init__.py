"""What a run says and leaves: events, their fold, its folder."""
