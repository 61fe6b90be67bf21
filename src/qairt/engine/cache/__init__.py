"""From keys to results: entries, the manifest, the store, the trash."""
