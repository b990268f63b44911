"""Policies: their texts, and who holds them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select

from backends.errors import InUse, Missing
from backends.identity.books import WORDS, Books, Holder, L, N
from backends.identity.models import Attachment, InlinePolicy, Policy, PolicyVersion, Role, User


class PolicyBooks(Books):
    """Policies that stand alone with their versions, those that belong to one holder, and attachments."""

    def add_policy(self, policy: Policy, text: str) -> Policy:
        """Keep a new policy with its first version. Raises `Exists`."""
        policy.current = policy.latest = 1
        policy.updated = self.moment
        self.add(policy)
        self.session.add(PolicyVersion(policy_id=policy.id, number=1, text=text, created=self.moment))
        self.session.flush()
        return policy

    def versions_of(self, policy: Policy) -> Sequence[PolicyVersion]:
        """All versions of a policy, newest first."""
        held = PolicyVersion.policy_id == policy.id
        return self.session.scalars(select(PolicyVersion).where(held).order_by(PolicyVersion.number.desc())).all()

    def version(self, policy: Policy, number: int) -> PolicyVersion:
        """One version of a policy. Raises `Missing`."""
        found = self.session.get(PolicyVersion, (policy.id, number))
        if found is None:
            raise Missing(f"no version {number}", kind="version", name=f"v{number}")
        return found

    def add_version(self, policy: Policy, text: str, *, current: bool) -> PolicyVersion:
        """Keep a further version of a policy; `current` makes it the one that counts."""
        policy.latest += 1
        policy.updated = self.moment
        version = PolicyVersion(policy_id=policy.id, number=policy.latest, text=text, created=self.moment)
        self.session.add(version)
        if current:
            policy.current = version.number
        self.session.flush()
        return version

    def remove_version(self, policy: Policy, number: int) -> None:
        """Forget a version other than the current one. Raises `Missing`, `InUse`."""
        version = self.version(policy, number)
        if policy.current == number:
            raise InUse("the current version", kind="version", name=f"v{number}", by="default version")
        self.session.delete(version)
        policy.updated = self.moment
        self.session.flush()

    def remove_policy(self, policy: Policy) -> None:
        """Forget a policy that nobody holds and that has one version. Raises `InUse`."""
        self._without(Attachment.policy == policy.id, Attachment, policy, "attachments")
        for row in (User, Role):
            self._without(row.limit == policy.id, row, policy, "boundaries")
        if len(self.versions_of(policy)) > 1:
            raise InUse("more than one version", kind="policy", name=policy.name, by="versions")
        self.session.execute(delete(PolicyVersion).where(PolicyVersion.policy_id == policy.id))
        self.session.delete(policy)
        self.session.flush()

    def attach(self, holder: Holder, reference: str) -> None:
        """Let a holder have a policy: a policy's id, or a catalogue reference. Nothing happens if it has it."""
        if self.session.get(Attachment, (holder.id, reference)) is None:
            kind = WORDS[type(holder)]
            self.session.add(Attachment(holder=holder.id, policy=reference, holder_kind=kind, added=self.unit.now))
            self.session.flush()

    def detach(self, holder: Holder, reference: str) -> None:
        """Take a policy from a holder. Raises `Missing`."""
        attachment = self.session.get(Attachment, (holder.id, reference))
        if attachment is None:
            raise Missing("not attached", kind="attachment", name=reference)
        self.session.delete(attachment)
        self.session.flush()

    def attached(self, holder: Holder) -> Sequence[str]:
        """References of the policies that a holder has, in the order of attachment."""
        held = Attachment.holder == holder.id
        return self.session.scalars(select(Attachment.policy).where(held).order_by(Attachment.added)).all()

    def holders_of(self, reference: str, row: type[N]) -> Sequence[N]:
        """The users, groups or roles that have a policy, by name."""
        joined = select(row).join(Attachment, Attachment.holder == row.id)
        return self.session.scalars(joined.where(Attachment.policy == reference).order_by(row.folded)).all()

    def limited_by(self, reference: str, row: type[L]) -> Sequence[L]:
        """The users or roles that a policy bounds, by name."""
        return self.session.scalars(select(row).where(row.limit == reference).order_by(row.folded)).all()

    def uses_of(self, references: Sequence[str]) -> dict[str, tuple[int, int]]:
        """For each reference, by how many it is held and how many it bounds."""
        number = func.count()
        wanted = Attachment.policy.in_(references)
        held: dict[str, int] = {}
        for policy, many in self.session.execute(
            select(Attachment.policy, number).where(wanted).group_by(Attachment.policy)
        ):
            held[policy] = many
        bounds: dict[str, int] = {}
        for row in (User, Role):
            limits = select(row.limit, number).where(row.limit.in_(references)).group_by(row.limit)
            for limit, many in self.session.execute(limits):
                bounds[limit or ""] = bounds.get(limit or "", 0) + many
        return {reference: (held.get(reference, 0), bounds.get(reference, 0)) for reference in references}

    def policies_by_id(self, ids: Sequence[str]) -> dict[str, Policy]:
        """The policies with those ids."""
        return {policy.id: policy for policy in self.session.scalars(select(Policy).where(Policy.id.in_(ids)))}

    def policy_versions(self) -> int:
        """How many versions all policies of the tenant have together."""
        return self.count(PolicyVersion)

    def catalogued_in_use(self) -> Sequence[str]:
        """The catalogue's policies that somebody holds."""
        held = select(Attachment.policy).where(Attachment.policy.startswith("/"))
        return self.session.scalars(held.distinct().order_by(Attachment.policy)).all()

    def put_inline(self, holder: Holder, name: str, text: str) -> None:
        """Give a holder a policy of its own, or change its text."""
        found = self.session.get(InlinePolicy, (holder.id, name.casefold()))
        if found is None:
            found = InlinePolicy(holder=holder.id, folded=name.casefold())
            self.session.add(found)
        found.name, found.text = name, text
        self.session.flush()

    def inline(self, holder: Holder, name: str) -> InlinePolicy:
        """A holder's own policy. Raises `Missing`."""
        found = self.session.get(InlinePolicy, (holder.id, name.casefold()))
        if found is None:
            kind = WORDS[type(holder)]
            raise Missing(f"no policy {name}", kind="inline policy", name=name, holder=kind, of=holder.name)
        return found

    def remove_inline(self, holder: Holder, name: str) -> None:
        """Take a policy of its own from a holder. Raises `Missing`."""
        self.session.delete(self.inline(holder, name))
        self.session.flush()

    def inlines(self, holder: Holder) -> Sequence[InlinePolicy]:
        """A holder's own policies, by name."""
        held = InlinePolicy.holder == holder.id
        return self.session.scalars(select(InlinePolicy).where(held).order_by(InlinePolicy.folded)).all()
