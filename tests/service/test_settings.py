"""The limits of the service are those that its documentation names."""

from service import protocol, uploads
from service.pool import Work
from service.settings import Settings


def test_limits_are_those_of_the_documentation_unless_the_environment_sets_others():
    """docs/security.md and docs/service.md name them."""
    defaults = Settings.from_environment({})
    assert (defaults.max_bytes, defaults.max_pixels) == (64 * 2**20, 25_000_000)
    assert (defaults.max_files, defaults.queue, defaults.timeout) == (16, 64, 30)
    assert (uploads.MAX_UPLOADS, uploads.MAX_CLIENT_UPLOADS) == (192, 64)
    assert (uploads.HELD, uploads.PATIENCE, uploads.MIN_RATE) == (4, 5.0, 4096)
    assert defaults.hosts == {"localhost", "127.0.0.1", "[::1]"}
    assert defaults.api_key is None
    assert Settings.from_environment({"CXR_API_KEY": " "}).api_key == " "
    names = {"CXR_MAX_BYTES": 7, "CXR_MAX_PIXELS": 8, "CXR_MAX_FILES": 9, "CXR_QUEUE": 10, "CXR_TIMEOUT": 11}
    own = Settings.from_environment({name: str(value) for name, value in names.items()})
    assert [own.max_bytes, own.max_pixels, own.max_files, own.queue, own.timeout] == list(names.values())
    work = Work(defaults.queue, defaults.timeout)
    assert (work.capacity, work.timeout) == (66, 30)
    work.close()


def test_limits_of_connections_are_those_of_the_documentation():
    assert (protocol.MAX_HEAD, protocol.HEAD_SECONDS, protocol.LINGER_SECONDS) == (16 * 1024, 10.0, 5.0)
    assert (protocol.MAX_CONNECTIONS, protocol.MAX_CLIENT_CONNECTIONS) == (256, 128)
