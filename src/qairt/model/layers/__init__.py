"""The pieces of a decoder layer, each with the forms that the supported families have."""
