"""From scores to genes: what each gene contributes to the difference between two labels."""
