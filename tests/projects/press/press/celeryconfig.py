broker_url = "memory://"
broker_transport_options = {"polling_interval": 0.01}
result_backend = "cache+memory://"
task_track_started = True
timezone = "UTC"
include = ["press.jobs"]
worker_hijack_root_logger = False
