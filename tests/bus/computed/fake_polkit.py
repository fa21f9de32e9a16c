# SPDX-License-Identifier: Apache-2.0
"""polkitd: the answer to every question is in answer."""

from fake_service import FakeService


class FakePolkit(FakeService):
    NAME = 'org.freedesktop.PolicyKit1'

    def __init__(self, address):
        self.answer_is = 'no'
        self.questions = []  # (action, details, interactive)
        super().__init__(address)

    def on_message(self, connection, message):
        if message.get_member() == 'CheckAuthorization':
            subject, action, details, flags, _ = message.get_args_list()
            self.questions.append((str(action), {str(k): str(v) for k, v in details.items()}, bool(flags & 1)))
        return super().on_message(connection, message)

    def do_CheckAuthorization(self, message, subject, action, details, flags, cancellation):
        how = self.answer_is(action, details) if callable(self.answer_is) else self.answer_is
        self.reply(message, '(bba{ss})', (how == 'yes', how == 'challenge', {}))
