"""Fills a space with messages, as clients and tasks leave them: the child of `mesh`.

`python -m tests.benchmarks.mesh_rows SPACE COUNT` writes them in batches, each with its entry in the search index.
"""

from __future__ import annotations

import random
import re
import sys

import django

BATCH = 2000
WORDS = re.findall(
    r"\w+",
    "agent task result review deployment service database index message session gateway provider token budget "
    "error retry deadline pipeline search space artifact report summary customer invoice payment test release",
)
CHINESE = "我们需要检查这个服务的部署日志并且生成一份测试报告以便客户审查机器学习模型的训练结果"
EVERYWHERE = "message"
"""A word of every message."""


def fill(public_id: str, count: int) -> None:
    """Adds the messages. Every thousandth has a word of its own, `needle<number>`."""
    from django.db.models import F

    from core_app.database import write_transaction
    from faces.mesh.models import SearchEntry, Space, SpaceMessage
    from faces.mesh.search_index import entry_terms

    chance = random.Random(7)
    space = Space.objects.get(public_id=public_id)
    for start in range(1, count + 1, BATCH):
        rows = [
            SpaceMessage(
                space=space,
                number=number,
                public_id=f"msg_{number}",
                role="user",
                content=text_of(number, chance),
                body="{}",
            )
            for number in range(start, min(start + BATCH, count + 1))
        ]
        with write_transaction():
            SpaceMessage.objects.bulk_create(rows)
            SearchEntry.objects.bulk_create(
                SearchEntry(space=space, message=row, terms=entry_terms(space.pk, row.content)) for row in rows
            )
            Space.objects.filter(pk=space.pk).update(
                message_count=F("message_count") + len(rows), next_number=F("next_number") + len(rows)
            )


def text_of(number: int, chance: random.Random) -> str:
    """Returns a message of some forty words, every third one Chinese."""
    words = [EVERYWHERE, *(chance.choice(WORDS) + str(chance.randrange(50)) for _ in range(20))]
    if number % 3 == 0:
        at = chance.randrange(len(CHINESE) - 10)
        words.append(CHINESE[at:] + CHINESE[:at])
    else:
        words += [chance.choice(WORDS) for _ in range(20)]
    if number % 1000 == 0:
        words.append(f"needle{number}")
    return " ".join(words)


if __name__ == "__main__":
    django.setup()
    fill(sys.argv[1], int(sys.argv[2]))
