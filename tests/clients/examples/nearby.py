"""What is nearby: places by their coordinates."""
import os

import redis

db = redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
db.delete("cities")
for city, longitude, latitude in (("Berlin", 13.405, 52.52), ("Hamburg", 9.993, 53.551), ("Paris", 2.352, 48.857),
                                  ("Potsdam", 13.065, 52.391)):
    db.geoadd("cities", (longitude, latitude, city))

near = db.geosearch("cities", longitude=13.4, latitude=52.5, radius=100, unit="km", sort="ASC", withdist=True)
assert [city for city, _ in near] == ["Berlin", "Potsdam"]
assert round(db.geodist("cities", "Berlin", "Hamburg", unit="km")) == 255
print("near:", near)
