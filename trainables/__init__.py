"""What one trial does: pictures, models, and the fine-tuning loop. No sweep, no command line."""
