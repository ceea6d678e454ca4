"""A delivery is believed if QStash signed these bytes, for this address, just now."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import jwt
import pytest
import qstash
import qstash.errors
from hypothesis import given
from hypothesis import strategies as st

from django_qstash import clock
from django_qstash.exceptions import SignatureError
from django_qstash.wire import signature

URL = "https://shop.example.com/qstash/webhook/"
BODY = b'{"v":1}'
CURRENT = "sig_currentcurrentcurrentcurrent"
NEXT = "sig_nextnextnextnextnextnextnext"
NOW = 1_800_000_000


def verify(token, body=BODY, *, url=URL, keys=(CURRENT, NEXT), now=NOW, tolerance=0.0):
    signature.verify(token, body, url=url, keys=keys, now=now, tolerance=tolerance)


def refusal(token, body=BODY, **changes) -> str:
    with pytest.raises(SignatureError) as raised:
        verify(token, body, **changes)
    return str(raised.value)


def sign(body=BODY, *, url=URL, key=CURRENT, now=NOW) -> str:
    return signature.sign(body, url=url, key=key, now=now)


def claims(**changes) -> dict:
    """What QStash's token says; ``None`` leaves a claim out."""
    said = {
        "iss": "Upstash",
        "sub": URL,
        "exp": NOW + 300,
        "nbf": 0,
        "iat": NOW,
        "jti": "jwt_1",
        "body": signature.body_hash(BODY),
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


def token(*, key=CURRENT, **changes) -> str:
    return jwt.encode(claims(**changes), key, algorithm="HS256")


def by_hand(header, payload, key=CURRENT) -> str:
    """A token whose parts need not be what a library would write."""
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)
    ]
    head = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    mac = hmac.new(key.encode(), head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


HS256 = {"alg": "HS256", "typ": "JWT"}


class TestWhatIsBelieved:
    @given(st.binary(), st.sampled_from([CURRENT, NEXT]))
    def test_what_was_signed_with_either_key(self, body, key):
        verify(sign(body, key=key), body)

    def test_one_key_is_enough(self):
        verify(sign(key=NEXT), keys=("", NEXT))

    def test_a_query_is_part_of_the_address(self):
        verify(sign(url=f"{URL}?callback=x"), url=f"{URL}?callback=x")
        assert "this address is" in refusal(sign(url=URL), url=f"{URL}?callback=x")

    def test_the_example_of_the_protocol(self):
        assert signature.body_hash(b'{"a":1}') == "AVq9f1zFei3ZS3WQ8ErYCEJzkF7jPsXOvq5iJ2qX-GI="
        assert signature.body_hash(b"") == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="

    def test_a_hash_without_its_padding(self):
        verify(token(body=signature.body_hash(BODY).rstrip("=")))

    @pytest.mark.parametrize(
        "changes", [{"iat": None}, {"jti": None}, {"nbf": NOW}, {"exp": NOW + 0.5}]
    )
    def test_claims_that_qstash_has_left_out_or_changed_over_the_years(self, changes):
        verify(token(**changes))

    def test_what_we_sign_has_qstashs_claims(self):
        said = jwt.decode(sign(), options={"verify_signature": False})

        assert said == claims(jti=said["jti"])
        assert said["jti"].startswith("jwt_")
        assert said["jti"] != jwt.decode(sign(), options={"verify_signature": False})["jti"]


class TestTheOfficialSdk:
    RECEIVER = qstash.Receiver(CURRENT, NEXT)

    @pytest.mark.parametrize("key", [CURRENT, NEXT])
    @pytest.mark.parametrize("body", ["", '{"v":1}', "Zoë"])
    def test_its_receiver_believes_our_tokens(self, key, body):
        ours = sign(body.encode(), key=key, now=clock.time())

        self.RECEIVER.verify(signature=ours, body=body, url=URL)

    @pytest.mark.parametrize(
        "changes", [{"url": f"{URL}?a=b"}, {"body": "other"}, {"now": 1_000_000_000}]
    )
    def test_it_refuses_what_we_refuse(self, changes):
        now = changes.pop("now", clock.time())
        body = changes.get("body", BODY.decode())
        ours = sign(url=changes.get("url", URL), now=now)

        with pytest.raises(qstash.errors.SignatureError):
            self.RECEIVER.verify(signature=ours, body=body, url=URL)
        refusal(ours, body.encode(), now=clock.time())

    def test_bytes_that_are_no_text_are_believed_here(self):
        """The SDK's receiver takes texts only."""
        verify(sign(b"\xff\xfe\x00"), b"\xff\xfe\x00")


class TestTime:
    @pytest.mark.parametrize("tolerance", [0, 30, 0.5])
    def test_a_token_lives_for_its_time_and_the_tolerance(self, tolerance):
        end = NOW + signature.LIFETIME + tolerance

        verify(sign(), now=end, tolerance=tolerance)
        said = refusal(sign(), now=end + 1, tolerance=tolerance)

        assert said.startswith("The signature expired ")
        assert "DJANGO_QSTASH_CLOCK_TOLERANCE" in said

    @pytest.mark.parametrize("claim", ["iat", "nbf"])
    @pytest.mark.parametrize("tolerance", [0, 30, 0.5])
    def test_a_token_begins_to_live_at_its_time_less_the_tolerance(self, claim, tolerance):
        soon = token(**{"iat": NOW, claim: NOW + 60})

        verify(soon, now=NOW + 60 - tolerance, tolerance=tolerance)
        said = refusal(soon, now=NOW + 60 - tolerance - 1, tolerance=tolerance)

        assert said.startswith("The signature is from the future, by ")
        assert "DJANGO_QSTASH_CLOCK_TOLERANCE" in said

    def test_a_text_tells_by_how_much(self):
        assert "expired 700 s ago" in refusal(sign(), now=NOW + 1000)
        assert "future, by 1000 s" in refusal(sign(), now=NOW - 1000)

    def test_any_clock_will_do(self):
        with clock.use(clock.VirtualClock(start=NOW)):
            ours = sign(now=clock.time())
            verify(ours, now=clock.time())
            clock.sleep(301)
            assert "expired 1 s ago" in refusal(ours, now=clock.time())

    @pytest.mark.parametrize(
        "instant",
        [
            "1",
            True,
            [NOW],
            {},
            float("nan"),
            float("inf"),
            float("-inf"),
            10**400,
            -(10**400),
            1e300,
        ],
        ids=lambda value: repr(value)[:10],
    )
    @pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
    def test_what_is_no_instant_is_refused(self, claim, instant):
        assert refusal(token(**{claim: instant})) == f"The claim {claim!r} is no instant."


class TestWhatIsRefused:
    @pytest.mark.parametrize("keys", [(), ("",), ("", ""), (None,)])
    def test_everything_without_a_key(self, keys):
        assert refusal(sign(), keys=keys).startswith("No signing key is configured")

    def test_even_what_the_empty_key_signed(self):
        forged = by_hand(HS256, claims(), key="")

        assert refusal(forged, keys=("", "")).startswith("No signing key is configured")
        refusal(forged)

    def test_another_key(self):
        said = refusal(sign(key="sig_strangestrangestrangestrange"))

        assert "neither the current nor the next signing key" in said
        assert CURRENT not in said
        assert NEXT not in said

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "https://shop.example.com/qstash/webhook",
            "http://shop.example.com/qstash/webhook/",
            "https://SHOP.example.com/qstash/webhook/",
            "https://evil.example/qstash/webhook/",
            f"{URL}?",
            f"{URL}#",
            f"{URL}\ud800",
            "é",
        ],
    )
    def test_another_address(self, url):
        said = refusal(token(sub=url))

        assert repr(url) in said
        assert "DJANGO_QSTASH_DOMAIN" in said

    @pytest.mark.parametrize("body", [b"", b'{"v":2}', b'{"v":1} ', b'{"v":1}\0', b"\xff"])
    def test_another_body(self, body):
        assert refusal(sign(), body) == "The body is not the one that was signed."

    @pytest.mark.parametrize("said", ["", "=", "=====", None, 7, True, [], "x" * 43, "é", "\ud800"])
    def test_a_hash_that_is_none(self, said):
        assert refusal(token(body=said)) == "The body is not the one that was signed."
        assert refusal(token(body=said), b"") == "The body is not the one that was signed."

    @pytest.mark.parametrize("claim", ["iss", "sub", "exp", "nbf"])
    def test_a_token_that_leaves_out(self, claim):
        assert refusal(token(**{claim: None})).startswith("The signature cannot be read: ")

    @pytest.mark.parametrize("issuer", ["upstash", "Upstash ", "", "someone"])
    def test_another_issuer(self, issuer):
        assert refusal(token(iss=issuer)).startswith("The signature cannot be read: ")

    @pytest.mark.parametrize(
        "changes", [{"sub": 7}, {"sub": [URL]}, {"iss": 7}, {"iss": ["Upstash"]}]
    )
    def test_a_claim_of_another_type(self, changes):
        refusal(by_hand(HS256, claims(**changes)))

    def test_no_signature_at_all(self):
        unsigned = jwt.encode(claims(), None, algorithm="none")

        assert refusal(unsigned).startswith("The signature cannot be read: ")

    @pytest.mark.parametrize(
        "algorithm", ["none", "None", "HS512", "RS256", "hs256", "", None, 7, []]
    )
    def test_a_header_that_asks_for_another_algorithm(self, algorithm):
        refusal(by_hand({"alg": algorithm, "typ": "JWT"}, claims()))

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    def test_a_true_signature_of_another_algorithm(self, algorithm):
        key = CURRENT * 2

        refusal(jwt.encode(claims(), key, algorithm=algorithm), keys=(key,))

    def test_a_public_key_is_no_secret(self):
        pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"

        refusal(by_hand(HS256, claims(), key=pem), keys=(pem,))
        refusal(by_hand({"alg": "RS256", "typ": "JWT"}, claims(), key=pem), keys=(pem,))

    @pytest.mark.parametrize(
        "payload", [b"", b"x", b"[]", b"7", b'"a"', b"null", b"\xff", b"{" * 9]
    )
    def test_a_payload_that_is_no_object(self, payload):
        refusal(by_hand(HS256, payload))

    @pytest.mark.parametrize("nested", [b"[" * 50_000, b'{"a":' * 50_000])
    def test_parts_nested_without_end(self, nested):
        refusal(by_hand(nested, claims()))
        refusal(by_hand(HS256, nested))

    @given(st.text())
    def test_any_text(self, text):
        refusal(text)

    @given(st.lists(st.binary(max_size=60), min_size=2, max_size=4))
    def test_anything_in_parts(self, parts):
        refusal(".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts))

    @pytest.mark.parametrize("text", ["", ".", "..", "...", "a.b.c", "é.é.é", "\ud800", "\0", " "])
    def test_garbage(self, text):
        assert refusal(text).startswith("The signature cannot be read: ")

    @given(st.data())
    def test_a_token_in_which_one_character_was_changed(self, data):
        ours = sign()
        # The last character holds bits that no byte of the signature takes.
        at = data.draw(st.integers(0, len(ours) - 2))
        other = data.draw(st.characters(codec="ascii").filter(lambda c: c != ours[at]))

        refusal(ours[:at] + other + ours[at + 1 :])
