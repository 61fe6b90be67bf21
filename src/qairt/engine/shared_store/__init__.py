"""A store that several machines share: results by action, their bytes by digest; local first, and never in the way."""
