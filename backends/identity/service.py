"""The books of identity: who there is, in which groups, holding which policies and keys."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select

from backends.errors import Exists, InUse, Missing
from backends.identity.books import Holder
from backends.identity.keys import KeyBooks
from backends.identity.models import (
    Attachment,
    Group,
    InlinePolicy,
    Key,
    KeyUse,
    Membership,
    Password,
    Possession,
    Profile,
    Role,
    TenantFacts,
    User,
)
from backends.identity.policies import PolicyBooks


class IdentityService(PolicyBooks, KeyBooks):
    """All of identity within one unit of work; see `Books` for its errors."""

    # --- users and groups -------------------------------------------------------------------------------------------

    def remove_user(self, user: User) -> None:
        """Forget a user that holds nothing any more. Raises `InUse(by=…)` naming the first thing that it still has."""
        self._without(Key.user_id == user.id, Key, user, "access keys")
        self._without(Password.user_id == user.id, Password, user, "login profile")
        self._bare(user)
        self._without(Membership.user_id == user.id, Membership, user, "groups")
        self._without(Possession.user_id == user.id, Possession, user, "possessions")
        self.session.delete(user)
        self.session.flush()

    def remove_group(self, group: Group) -> None:
        """Forget a group without members and policies. Raises `InUse`."""
        self._without(Membership.group_id == group.id, Membership, group, "users")
        self._bare(group)
        self.session.delete(group)
        self.session.flush()

    def remove_role(self, role: Role) -> None:
        """Forget a role that no profile carries and that holds no policies. Raises `InUse`."""
        self._without(Profile.role_id == role.id, Profile, role, "profiles")
        self._bare(role)
        self.session.execute(delete(KeyUse).where(KeyUse.id == role.id))
        self.session.delete(role)
        self.session.flush()

    def _bare(self, holder: Holder) -> None:
        self._without(InlinePolicy.holder == holder.id, InlinePolicy, holder, "inline policies")
        self._without(Attachment.holder == holder.id, Attachment, holder, "attached policies")

    def join(self, user: User, group: Group) -> None:
        """Put a user into a group; nothing happens if it is there."""
        if self.session.get(Membership, (user.id, group.id)) is None:
            self.session.add(Membership(user_id=user.id, group_id=group.id, added=self.unit.now))
            self.session.flush()

    def leave(self, user: User, group: Group) -> None:
        """Take a user out of a group. Raises `Missing`."""
        membership = self.session.get(Membership, (user.id, group.id))
        if membership is None:
            raise Missing("not a member", kind="membership", name=user.name)
        self.session.delete(membership)
        self.session.flush()

    def groups_of(self, user: User) -> Sequence[Group]:
        """The groups that a user is in, by name."""
        joined = select(Group).join(Membership, Membership.group_id == Group.id)
        return self.session.scalars(joined.where(Membership.user_id == user.id).order_by(Group.folded)).all()

    def members_of(self, group: Group) -> Sequence[User]:
        """The users in a group, by name."""
        joined = select(User).join(Membership, Membership.user_id == User.id)
        return self.session.scalars(joined.where(Membership.group_id == group.id).order_by(User.folded)).all()

    # --- profiles ---------------------------------------------------------------------------------------------------

    def role_of_profile(self, name: str) -> Role | None:
        """The role that the profile called `name` carries, if both exist."""
        joined = select(Role).join(Profile, Profile.role_id == Role.id)
        return self.session.scalar(joined.where(Profile.folded == name.casefold()))

    def role_in(self, profile: Profile) -> Role | None:
        """The role that a profile carries."""
        return None if profile.role_id is None else self.session.get(Role, profile.role_id)

    def profiles_of(self, role: Role) -> Sequence[Profile]:
        """The profiles that carry a role, by name."""
        return self.session.scalars(select(Profile).where(Profile.role_id == role.id).order_by(Profile.folded)).all()

    def remove_profile(self, profile: Profile) -> None:
        """Forget a profile that carries no role. Raises `InUse`."""
        if profile.role_id is not None:
            raise InUse("the profile carries a role", kind="profile", name=profile.name, by="roles")
        self.session.delete(profile)
        self.session.flush()

    # --- what is filed under a user or the tenant ---------------------------------------------------------------------

    def file(self, possession: Possession) -> Possession:
        """Keep a thing under its user or the tenant. Raises `Exists` when its id is taken."""
        if self.possession(possession.kind, possession.id) is not None:
            raise Exists("filed already", kind=possession.kind, name=possession.id)
        possession.created = self.moment
        self.session.add(possession)
        self.session.flush()
        return possession

    def possession(self, kind: str, id: str) -> Possession | None:
        """The thing of that kind with that id, or None."""
        return self.session.scalar(select(Possession).where(Possession.kind == kind, Possession.id == id))

    def possessions(self, kind: str, user: User | None = None) -> Sequence[Possession]:
        """Things of a kind, in order of id: those of a user, or all."""
        statement = select(Possession).where(Possession.kind == kind).order_by(Possession.id)
        return self.session.scalars(statement if user is None else statement.where(Possession.user_id == user.id)).all()

    def user_of(self, possession: Possession) -> User | None:
        """Under which user a thing is filed."""
        return None if possession.user_id is None else self.session.get(User, possession.user_id)

    def drop(self, possession: Possession) -> None:
        """Forget a filed thing."""
        self.session.delete(possession)
        self.session.flush()

    # --- the tenant -------------------------------------------------------------------------------------------------

    def tenant(self) -> TenantFacts | None:
        """What the tenant has set for itself, if anything."""
        return self.session.get(TenantFacts, self._tenant)

    def tenant_for_change(self) -> TenantFacts:
        """The same, made when absent."""
        found = self.tenant()
        if found is None:
            found = TenantFacts(tenant=self._tenant)
            self.session.add(found)
        return found

    def alias_taken(self, alias: str) -> bool:
        """Whether any tenant has that alias."""
        with self.unit.database.unit(None, write=False) as everybody:
            return everybody.session.scalar(select(TenantFacts.tenant).where(TenantFacts.alias == alias)) is not None
