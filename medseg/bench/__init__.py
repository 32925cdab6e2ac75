"""The latency/Dice report: load, accuracy, the ledger of where the time goes, and the comparison with last time."""
