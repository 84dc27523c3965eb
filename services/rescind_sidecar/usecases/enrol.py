"""Enrol an instance: prove which service it belongs to, get the secret that its messages carry."""

import structlog

from rescind.core.secret import Secret
from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire import enrolment
from rescind.wire.enrolment import Credential, Granted, Refused, Request
from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose
from rescind_sidecar.ports import Dice, Link, Notary, Voice
from rescind_sidecar.usecases.incarnations import Incarnation
from rescind_sidecar.usecases.tally import Tally

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Enrol:
    """Show the service's credential, sealed, for an instance's own key."""

    def __init__(
        self,
        *,
        credential: Secret,
        service: str,
        posture: str,
        link: Link,
        notary: Notary,
        dice: Dice,
        tally: Tally,
    ) -> None:
        self._credential = credential
        self._service = service
        self._posture = posture
        self._link = link
        self._notary = notary
        self._dice = dice
        self._tally = tally
        self._refused: str | None = None
        self.refused = False
        """Whether the last attempt was answered with a refusal."""

    async def enrol(self, incarnation: Incarnation) -> bool:
        """Enrol an instance; say whether it is. It also brings the newest trust statement."""
        self.refused = False
        nonce = self._dice.identity()
        credential = Credential(
            self._credential, self._service, incarnation.instance, nonce, self._posture
        )
        box = self._notary.seal(enrolment.encode_credential(credential))
        try:
            signed = await self._link.enrol(Request(incarnation.key.public, nonce, box))
        except UnreachableError as error:
            _log.info("not enrolled yet", action="enrolment.lost", why=str(error))
            return False
        enrolled = self._judge(incarnation, signed, nonce)
        self._tally.enrolments_refused += not enrolled
        return enrolled

    def _judge(self, incarnation: Incarnation, signed: Sealed, nonce: bytes) -> bool:
        if not self._believed(signed):
            self._say_refused("the answer is not signed by a key that the trust file leads to")
            return False
        try:
            return self._take(incarnation, enrolment.decode_answer(signed.content), nonce)
        except MalformedMessageError as error:
            self._say_refused(str(error))
            return False

    def _believed(self, signed: Sealed) -> bool:
        """Check who signed an answer, by the statement in it if ours is too old to tell."""
        if self._notary.verify(Purpose.ENROLMENT, signed):
            return True
        if self._notary.knows(Purpose.ENROLMENT, signed):
            return False
        # The key was rotated while we were away. The statement vouches for itself: the root
        # signed it, and it is only taken if it is newer than ours.
        try:
            answer = enrolment.decode_answer(signed.content)
        except MalformedMessageError:
            return False
        if isinstance(answer, Granted):
            self._notary.accept(answer.statement)
        return self._notary.verify(Purpose.ENROLMENT, signed)

    def _take(self, incarnation: Incarnation, answer: Granted | Refused, nonce: bytes) -> bool:
        if answer.nonce != nonce:
            return False  # the answer to another request
        match answer:
            case Refused(_, why):
                self._say_refused(why)
                self.refused = True
                return False
            case Granted():
                if answer.instance != incarnation.instance:
                    return False
                self._notary.accept(answer.statement)
                opened = incarnation.key.open(answer.box)
                if opened is None:
                    self._say_refused("the secret was not sealed to this instance")
                    return False
                belongings = enrolment.decode_belongings(opened)
                incarnation.edge_keys = belongings.edge_keys
                incarnation.epoch = answer.epoch
                incarnation.voice = Voice(incarnation.instance, belongings.secret)
                self._refused = None
                _log.info("enrolled", action="enrolment.done", epoch=answer.epoch)
                return True

    def _say_refused(self, why: str) -> None:
        # Once for each reason: it is asked again at every beat until it works.
        if why != self._refused:
            _log.error("enrolment was refused", action="enrolment.refused", why=why)
        self._refused = why
