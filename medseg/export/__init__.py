"""Export: a run's network as files for every engine, each proved against torch before it is recorded."""
