"""Construction of the use cases that the HTTP API and the sidecars call."""

import secrets
from functools import cached_property, partial

from rescind.errors import RescindError
from rescind_authority.http.dependencies import Health, UseCases
from rescind_authority.keys.reloading_keyring import ReloadingKeyring
from rescind_authority.nats.connection import NatsAdapter
from rescind_authority.ports.keys import EdgeKeys
from rescind_authority.postgres.migrate import Migrator
from rescind_authority.settings import AuthoritySettings
from rescind_authority.usecases.access.authoriser import Authoriser
from rescind_authority.usecases.access.change_budgets import Budgets
from rescind_authority.usecases.leases.enrol import Enroller
from rescind_authority.usecases.leases.instance_auth import Instances
from rescind_authority.usecases.oauth.authentication import ClientAuthenticator
from rescind_authority.usecases.oauth.client_tokens import ClientTokens
from rescind_authority.usecases.oauth.presented_tokens import PresentedTokens
from rescind_authority.usecases.oauth.registry import ClientRegistry
from rescind_authority.usecases.read_model.delegation_tree import Trees
from rescind_authority.usecases.read_model.inspector import Inspector
from rescind_authority.usecases.read_model.token_search import TokenSearch
from rescind_authority.usecases.revocations.lift import Lifter
from rescind_authority.usecases.revocations.preview import Previewer
from rescind_authority.usecases.revocations.revoke import Revoker
from rescind_authority.usecases.sessions import Sessions
from rescind_authority.usecases.sidecar_api import SidecarApi
from rescind_authority.usecases.tokens.delegate import Delegator
from rescind_authority.usecases.tokens.issue import Issuer, SessionLimits
from rescind_authority.usecases.tokens.new_token import TokenGenerator
from rescind_authority.usecases.tokens.rotate_and_expire import TokenChanger
from rescind_authority.wiring.core import Core


def sidecar_api(core: Core, keyring: ReloadingKeyring, edge_keys: EdgeKeys) -> SidecarApi:
    """Build the use cases that sidecars call over NATS or HTTP."""
    instances = Instances(keys=keyring, recent=core.recent)
    enroller = Enroller(
        core.resolver,
        keys=keyring,
        instances=instances,
        recent=core.recent,
        edge_keys=edge_keys,
        enrolments=core.enrolments,
        clock=core.clock,
        refused=core.refusals.queue,
    )
    return SidecarApi(
        granter=core.granter,
        resolver=core.resolver,
        recent=core.recent,
        enroller=enroller,
        instances=instances,
        membership=core.membership,
        keys=keyring,
        usage=core.usage,
        acknowledgements=core.acknowledgements,
        recovery=core.recovery,
    )


class HttpApi:
    """The use cases that HTTP handlers call. Each part is built when it is first needed."""

    def __init__(
        self,
        settings: AuthoritySettings,
        core: Core,
        *,
        keyring: ReloadingKeyring,
        edge_keys: EdgeKeys,
    ) -> None:
        self._settings = settings
        self._core = core
        self._keyring = keyring
        self._edge_keys = edge_keys
        self._clock = core.clock
        self._prefix = settings.token_prefix

    def use_cases(self, *, sidecars: SidecarApi, link: NatsAdapter, migrator: Migrator) -> UseCases:
        """Return the use cases."""
        core = self._core
        return UseCases(
            authoriser=self._authoriser,
            budgets=self._budgets,
            issuer=self._issuer,
            delegator=Delegator(core.ledger, mint=self._generator),
            revoker=self._revoker,
            membership=core.membership,
            lifter=self._lifter,
            changer=self._changer,
            clients=self._clients,
            client_authenticator=ClientAuthenticator(
                core.clients, authoriser=self._authoriser, records=core.records
            ),
            client_tokens=ClientTokens(self._issuer, self._budgets),
            presented_tokens=self._presented_tokens,
            sessions=self._sessions,
            inspector=self._inspector,
            trees=Trees(self._inspector, core.tokens),
            enforcer=core.enforcer,
            hit_counter=core.hit_counter,
            keys=self._keyring,
            sidecar_api=sidecars,
            term=core.term,
            metrics=core.metrics,
            refused=core.refusals.queue,
            health=partial(_health, migrator, link, self._keyring),
        )

    @cached_property
    def _authoriser(self) -> Authoriser:
        return Authoriser(self._core.resolver, edge_keys=self._edge_keys, prefix=self._prefix)

    @cached_property
    def _clients(self) -> ClientRegistry:
        core = self._core
        return ClientRegistry(
            core.clients,
            issuer=self._issuer,
            changer=self._changer,
            sequencer=core.sequencer,
            records=core.records,
            clock=self._clock,
            entropy=secrets.token_bytes,
        )

    @cached_property
    def _presented_tokens(self) -> PresentedTokens:
        return PresentedTokens(
            self._core.resolver,
            edge_keys=self._edge_keys,
            sequencer=self._core.sequencer,
            budgets=self._budgets,
            revocations=self._core.revocations,
            clock=self._clock,
            entropy=secrets.token_bytes,
            prefix=self._prefix,
        )

    @cached_property
    def _generator(self) -> TokenGenerator:
        return TokenGenerator(
            clock=self._clock,
            entropy=secrets.token_bytes,
            edge_keys=self._edge_keys,
            prefix=self._prefix,
        )

    @cached_property
    def _inspector(self) -> Inspector:
        core = self._core
        return Inspector(
            records=core.records,
            token_search=TokenSearch(core.tokens, clock=self._clock),
            revocations=core.revocations,
            leases=core.leases,
            ledger=core.ledger,
            recent=core.recent,
            acknowledgements=core.acknowledgements,
            prefix=self._prefix,
        )

    @cached_property
    def _budgets(self) -> Budgets:
        return Budgets(self._clock, per_s=self._settings.self_service_per_s)

    @cached_property
    def _issuer(self) -> Issuer:
        limits = SessionLimits(
            idle_s=self._settings.session_idle, most=self._settings.sessions_per_subject
        )
        return Issuer(
            self._core.ledger,
            mint=self._generator,
            limits=limits,
            on_sessions_ended=partial(self._core.ends.expect, 0),
        )

    @cached_property
    def _revoker(self) -> Revoker:
        core = self._core
        return Revoker(
            core.sequencer,
            resolver=core.resolver,
            tokens=core.tokens,
            lift_scheduler=core.lift_scheduler,
            previewer=Previewer(core.tokens, above=self._settings.preview_above),
            clock=self._clock,
            entropy=secrets.token_bytes,
            prefix=self._prefix,
        )

    @cached_property
    def _lifter(self) -> Lifter:
        return Lifter(
            self._core.sequencer,
            revocations=self._core.revocations,
            tokens=self._core.tokens,
            clock=self._clock,
            entropy=secrets.token_bytes,
        )

    @cached_property
    def _changer(self) -> TokenChanger:
        core = self._core
        return TokenChanger(
            core.sequencer, records=core.records, mint=self._generator, ends=core.ends
        )

    @cached_property
    def _sessions(self) -> Sessions:
        return Sessions(
            self._inspector,
            sequencer=self._core.sequencer,
            budgets=self._budgets,
            clock=self._clock,
            entropy=secrets.token_bytes,
        )


async def _health(migrator: Migrator, link: NatsAdapter, keyring: ReloadingKeyring) -> Health:
    nats = "ok" if link.connected else "not connected; sidecars ask over HTTP meanwhile"
    try:
        migrated = await migrator.require_current()
    except RescindError as error:
        return Health(ready=False, postgres=str(error), nats=nats, trust=keyring.health)
    postgres = "ok" if migrated else "not migrated: run `rescind migrate`"
    return Health(ready=migrated, postgres=postgres, nats=nats, trust=keyring.health)
