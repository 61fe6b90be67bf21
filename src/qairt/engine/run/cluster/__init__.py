"""Items on other machines: the workers of a Dask cluster. Data goes through a shared store, no folder is shared."""
