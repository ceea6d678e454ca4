from config.celery_app import app


@app.task(bind=True)
def poll(self, name):
    return [name, self.request.delivery_info["routing_key"]]


@app.task(bind=True, queue="own")
def pushed(self):
    return self.request.delivery_info["routing_key"]
