"""Source `table`: the rows of a CSV or Parquet file, the layouts of published data sets, the question that
their labels answer, and the images that they name."""
