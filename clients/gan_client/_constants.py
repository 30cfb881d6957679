"""Every number and default of the client, and the bounds of the wire contract, in one place.

Times are in seconds, sizes in bytes.
"""

from typing import Final

DEFAULT_URL: Final = "http://localhost:3000"
DEFAULT_TIMEOUT: Final = 60.0  # for one call, all tries and pauses included
MAX_TIMEOUT: Final = 86_400.0
CONNECT_TIMEOUT: Final = 5.0  # for one try: an address that swallows packets is given up early

DEFAULT_MAX_RETRIES: Final = 2
MAX_RETRIES: Final = 100
RETRIED_STATUSES: Final = frozenset({429, 502, 503, 504})
MAX_CONNECTIONS: Final = 64  # of one client: a batch of the service; further calls wait for one to be free
KEEP_ALIVE: Final = 4.0  # of an idle connection: less than the 5 s after which uvicorn, and so the service, closes it
BACKOFF_MIN: Final = 0.5
BACKOFF_MAX: Final = 8.0
RETRY_AFTER_JITTER: Final = 0.1  # share of Retry-After that is added at random, so that callers don't return as one

STREAM_CHUNK: Final = 256  # images of one request of a stream
STREAM_AHEAD: Final = 2  # requests of a stream that are under way at once
MAX_AHEAD: Final = 64

SEED_LIMIT: Final = 2**53  # 0 <= seed < SEED_LIMIT: what a JSON number carries exactly in every language
KEY_POINT_LIMIT: Final = 64  # key points of an interpolation, at most
LONGEST_NAME: Final = 200  # characters of a generator's or class's name
MAX_IMAGES: Final = 100_000  # of one call; the service's own limit (GAN_MAX_N) is usually far lower
MAX_TRUNCATION: Final = 10
MAX_COLUMNS: Final = 1000
MAX_QUALITY: Final = 100
MIN_STEPS: Final = 2  # frames from one key point of an interpolation to the next
MAX_STEPS: Final = 240
MAX_FPS: Final = 60
MAX_SCALE: Final = 64  # pixels, in width and height, that a pixel of an image may become
GRID_PADDING: Final = 2  # pixels between the images of a contact sheet, and around them

# What an answer may make this process hold, whoever sent it.
MAX_RESPONSE_BYTES: Final = 2**30
MAX_INDEX_BYTES: Final = 2**26
MAX_IMAGE_PIXELS: Final = 2**26
