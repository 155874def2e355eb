"""What a cell is, and how cells become batches."""
