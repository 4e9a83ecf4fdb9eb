"""The `acp` engine: any agent that speaks the Agent Client Protocol on its standard input and output.

A leg starts the program, opens the session that the last answer noted, and sends the prompt. Text, reasoning, plans and
the agent's tools become events. A request for permission ends the leg as a call that waits for a decision; the program
is kept meanwhile (`agents_app.acp.parked`), or started again when it is gone, and then nobody is asked a second time.
"""

from __future__ import annotations

from agents_app.acp.conversation import Conversation
from agents_app.acp.parked import PARKED
from agents_app.engine import Leg, LegOutcome, Waiting
from agents_app.exchange import Exchange


class AcpEngine:
    """Runs legs on agents that speak the Agent Client Protocol."""

    name = "acp"
    builtin_tools: tuple[str, ...] = ()

    async def run_leg(self, leg: Leg) -> LegOutcome:
        """Executes one leg to its end."""
        conversation = Conversation(leg)
        outcome: LegOutcome | None = None
        try:
            outcome = await Exchange(leg, self.name, conversation.ask).run()
            return outcome
        finally:
            if isinstance(outcome, Waiting):
                await conversation.park()
            else:
                await conversation.end()
                await PARKED.end(leg.run.run_id)


ENGINE = AcpEngine()
