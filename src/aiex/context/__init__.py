"""What we remember and what we show the model."""
