"""The parts of the data plane that HTTP and gRPC share: the decision, and the worker processes."""
