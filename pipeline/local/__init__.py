"""A real Kafka and a ClickHouse on this machine without Docker, and the demo."""
