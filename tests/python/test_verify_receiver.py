"""The receiver takes what is published as right, and nothing else."""

import datetime
import unittest
from unittest import mock

import standardwebhooks.webhooks

import verify_receiver

STANDARD = {
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "body": b'{"test": 2432232314}',
    "time_s": 1614265330,
    "headers": {
        "id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "timestamp": "1614265330",
        "signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
}
OCTOHOOKS = {
    "secret": "i9viqa5vxx78hcxh4rwdm8x7791",
    "body": b'{"email":"foo.bar@example.com"}',
    "time_s": 1668595667,
    "signature": "t=1668595667,v1=c3d76cb53f8adb55f6437e6e200e177a58a4a77b428dd3f373a4a1b7ef41f853",
}


def at(time_s):
    """What the clock shows, here and in the packages."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(time_s, tz)

    clocks = mock.patch.object(standardwebhooks.webhooks, "datetime", Clock)
    times = mock.patch.object(verify_receiver.time, "time", lambda: time_s)
    return clocks, times


def examine(expected, headers, body, time_s):
    clocks, times = at(time_s)
    with clocks, times:
        return verify_receiver.examine(expected, headers, body)


class Standard(unittest.TestCase):
    def verdicts(self, prefixes=("svix", "webhook"), late_s=0, body=STANDARD["body"]):
        headers = {
            f"{prefix}-{name}": value
            for prefix in prefixes
            for name, value in STANDARD["headers"].items()
        }
        expected = {"standard": [STANDARD["secret"]]}
        return examine(expected, headers, body, STANDARD["time_s"] + late_s)

    def test_published_vector_passes(self):
        verdicts = self.verdicts()
        self.assertEqual(
            verdicts,
            {"svix": True, "standardwebhooks": True, "octohooks": None, "named": None},
        )
        self.assertTrue(verify_receiver.passed(verdicts))

    def test_changed_body_is_refused(self):
        verdicts = self.verdicts(body=b'{"test":2432232314}')
        self.assertIn("No matching", verdicts["svix"])
        self.assertIn("No matching", verdicts["standardwebhooks"])

    def test_old_request_is_refused(self):
        self.assertIn("too old", self.verdicts(late_s=301)["svix"])

    def test_standardwebhooks_does_not_live_on_svix_headers(self):
        self.assertIn("Missing", self.verdicts(prefixes=["svix"])["standardwebhooks"])


class Octohooks(unittest.TestCase):
    def verdict(self, signature=OCTOHOOKS["signature"], late_s=0, secret=OCTOHOOKS["secret"]):
        verdicts = examine(
            {"text": [secret]},
            {"x-signature": signature},
            OCTOHOOKS["body"],
            OCTOHOOKS["time_s"] + late_s,
        )
        return verdicts["octohooks"]

    def test_published_vector_passes(self):
        self.assertIs(self.verdict(), True)
        self.assertIs(self.verdict(late_s=5), True)

    def test_anything_else_is_refused(self):
        time, signature = OCTOHOOKS["signature"].split(",")
        for given, reason in [
            (f"{signature},{time}", "begin with a time"),
            (f"{time}, {signature}", "no signature"),
            (time, "no signature"),
            (f"{time},{signature.replace('v1', 'v2')}", "matches"),
            (f"{time},{signature.upper().replace('V1', 'v1')}", "matches"),
            ("", "begin with a time"),
        ]:
            with self.subTest(given):
                self.assertIn(reason, self.verdict(given))
        self.assertIn("6.0 s old", self.verdict(late_s=6))
        self.assertIn("matches", self.verdict(secret="another"))


class Named(unittest.TestCase):
    """By the examples that Slack and GitHub publish, and by those of optech."""

    def verdict(self, body, line, headers=None, **scheme):
        scheme = {"header": "X-Own", "prefix": "", "lines": 1, **scheme}
        headers = {"x-own": line, **(headers or {})}
        return verify_receiver.examine({"named": [scheme]}, headers, body)["named"]

    def github(self, **changed):
        given = {
            "body": b"Hello, World!",
            "line": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            "secret": "It's a Secret to Everybody",
            "template": "{body}",
            "encoding": "hex",
            "prefix": "sha256=",
        }
        return self.verdict(**{**given, **changed})

    def test_published_vectors_pass(self):
        self.assertIs(self.github(), True)
        optech = {"secret": "shhh", "template": "{body}", "encoding": "base64url"}
        line = "nVJlQArgV_x_qN2Y0Ca5fG5MfUC87u6Un49HHw-dNgo="
        self.assertIs(self.verdict(b'{"data":{"a":1}}', line, **optech), True)

    def test_time_is_signed_where_the_template_says_so(self):
        scheme = {
            "secret": OCTOHOOKS["secret"],
            "template": "{timestamp}.{body}",
            "encoding": "hex",
            "prefix": "t={timestamp},v1=",
        }
        for time_s, want in [("1668595667", True), ("1668595668", False)]:
            headers = {"webhook-timestamp": time_s}
            verdict = self.verdict(OCTOHOOKS["body"], OCTOHOOKS["signature"], headers, **scheme)
            self.assertEqual(verdict is True, want, verdict)

    def test_anything_else_is_refused(self):
        for changed, reason in [
            ({"body": b"Hello, World?"}, "matches"),
            ({"secret": "another"}, "matches"),
            ({"prefix": ""}, "matches"),
            ({"encoding": "base64"}, "matches"),
            ({"line": ""}, "matches"),
            ({"lines": 2}, "has 1 lines"),
        ]:
            with self.subTest(changed):
                self.assertIn(reason, self.github(**changed))


class Passing(unittest.TestCase):
    def test_nothing_asked_is_nothing_passed(self):
        self.assertFalse(verify_receiver.passed(verify_receiver.examine({}, {}, b"")))

    def test_every_secret_has_to_pass(self):
        clocks, times = at(OCTOHOOKS["time_s"])
        with clocks, times:
            verdicts = verify_receiver.examine(
                {"text": [OCTOHOOKS["secret"], "another"]},
                {"x-signature": OCTOHOOKS["signature"]},
                OCTOHOOKS["body"],
            )
        self.assertFalse(verify_receiver.passed(verdicts))


if __name__ == "__main__":
    unittest.main()
