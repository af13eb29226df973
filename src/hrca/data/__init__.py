"""AnnData in: sources, counts, genes, validation. Knows neither torch nor scvi-tools."""
