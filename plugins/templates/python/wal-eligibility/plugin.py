"""Writes of one tenant are answered when all instances in service have done them; all others as
Achromat is configured."""

from wit_world import exports
from wit_world.exports.wal_policy import Eligibility_Replicate, Level, Replication
from wit_world.imports import host
from wit_world.imports.types import Parts, Wants


class WalPolicy(exports.WalPolicy):
    tenant = ""

    def configure(self, config):
        WalPolicy.tenant = config.strip()
        return Wants(parts=Parts.TENANT, headers=[])

    def judge(self, operation):
        is_theirs = operation.tenant == WalPolicy.tenant
        if is_theirs:
            host.count("careful_writes", 1)
        level = Level.ALL if is_theirs else None
        return Eligibility_Replicate(Replication(level=level, accept_when_down=False))
