"""What the trials say: the sweep's record, tables, the report, the exported model."""
