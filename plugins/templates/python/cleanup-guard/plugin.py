"""Collections whose names begin in some way are neither deleted nor renamed."""

from wit_world import exports
from wit_world.exports.guard_policy import Deed, Permission_Allow, Permission_Deny
from wit_world.imports import host
from wit_world.imports.types import Parts, Wants


class GuardPolicy(exports.GuardPolicy):
    prefix = "keep-"

    def configure(self, config):
        GuardPolicy.prefix = config.strip() or "keep-"
        return Wants(parts=Parts(0), headers=[])

    def permit(self, question):
        name = question.collection or ""
        if question.deed == Deed.DELETE_RECORDS or not name.startswith(GuardPolicy.prefix):
            return Permission_Allow()
        host.log(host.Level.INFO, f"{name[:100]} stays")
        return Permission_Deny(f"{name[:100]} stays: see whoever looks after it")
