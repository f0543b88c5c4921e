"""What all rooms share: sources of batches, objectives, seeded streams, friendly errors."""
