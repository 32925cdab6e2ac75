"""What is measured: one target at a time, alone and under load, on which machine, and where its time goes."""
