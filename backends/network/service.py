"""The network backend's face: everything that may be asked of it, bound to one unit of work.

Each subject has a file; a subject stands on those below it: book, peerings, networks, segments, routes, ports,
gateways, firewalls, filters, extras. Handlers change rows here and nowhere else; what touches the machine is done by
`lifecycle`.
"""

from __future__ import annotations

from backends.network.extras import Extras


class NetworkService(Extras):
    """Networks, segments, ports and what surrounds them, in the sight of one unit of work."""
