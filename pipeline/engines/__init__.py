"""Who drives the stages: the Kafka transaction loop, the drain to the sink, the embedded run."""
