"""Writers: steps as responses and streams, one module per client dialect."""
