"""`cxr embed`: embeddings of any number of radiographs, and the search for the nearest of them."""
