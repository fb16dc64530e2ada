"""API keys of a real server: made by the command, read again on SIGHUP, needed to listen."""

import re
import signal
from pathlib import Path

import openai
import pytest

from server import serve
from server.access.keys_file import append_key, new_key, table_of
from server.config import Settings, SettingsError
from tests.e2e.server_process import ServerProcess, run_cli

ELSEWHERE = "192.0.2.1"  # of no machine, so that nothing is ever listened on
NO_KEYS = "http.keys_file or RWKV_SERVER_HTTP_API_KEY, or let everybody in with --no-auth"


def add_key(file, name, role="user"):
    key = new_key()
    append_key(file, name, table_of(name, key, role))
    return key


def test_keys_are_made_used_and_rotated_while_the_server_runs(tmp_path):
    file = tmp_path / "keys.toml"
    code, out, err = run_cli("keys", "new", "alice", "--file", str(file))
    assert code == 0, err
    alice, admin = out.strip(), add_key(file, "ops", "admin")
    with ServerProcess(RWKV_SERVER_HTTP_KEYS_FILE=file) as server:
        server.wait_until_listening()
        with server.client() as http:

            def status(key, path="/v1/models"):
                return http.get(path, headers={"authorization": f"Bearer {key}"}).status_code

            assert (status(alice), status(admin), status("rk-x")) == (200, 200, 401)
            assert (status(alice, "/metrics"), status(admin, "/metrics")) == (403, 200)
            assert http.get("/health").status_code == 200
            file.write_text(re.sub(r'\[alice\]\nsha256 = ".*"\n', "[alice\n", file.read_text()))
            seen = len(server.lines)
            server.send_signal(signal.SIGHUP)
            server.wait_for_line("the keys stay as they are", seen)
            assert status(alice) == 200
            file.unlink()
            add_key(file, "ops", "admin")
            alices_second = add_key(file, "alice")
            seen = len(server.lines)
            server.send_signal(signal.SIGHUP)
            # Models may still be loading: keys do not wait for them.
            server.wait_for_line("keys that are known: 2", seen)
            assert (status(alice), status(admin), status(alices_second)) == (401, 401, 200)
        server.wait_until_ready()
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=alices_second) as sdk:
            assert sdk.completions.create(model="rwkv-embedded", prompt="a", max_tokens=3).choices
        with (
            openai.OpenAI(base_url=f"{server.url}/v1", api_key=alice) as sdk,
            pytest.raises(openai.AuthenticationError),
        ):
            sdk.models.list()
        secrets = (alice, admin, alices_second)
        assert not any(secret in line for secret in secrets for line in server.lines)


def test_a_broken_keys_file_is_an_error_of_one_line(tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text("[alice]\nsha256 = 'x'\n")
    code, _, err = run_cli("serve", "--port", "0", RWKV_SERVER_HTTP_KEYS_FILE=str(file))
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {file}: 'alice.sha256'")
    assert "Traceback" not in err


def test_without_keys_the_server_does_not_listen_where_others_reach_it():
    code, _, err = run_cli("serve", "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    line = err.splitlines()[-1]
    assert line.startswith("error: http.host 0.0.0.0: ")
    assert NO_KEYS in line


def test_no_auth_lets_it_try():
    code, _, err = run_cli("serve", "--host", ELSEWHERE, "--port", "0", "--no-auth")
    assert code == 2
    assert f"http.port 0 on {ELSEWHERE}: " in err.splitlines()[-1]


@pytest.mark.parametrize("fields", [{"api_key": "plain"}, {"allow_no_keys": True}])
def test_a_key_or_leave_lets_it_try(fields):
    settings = Settings.model_validate({"http": {"host": ELSEWHERE, "port": 0} | fields})
    with pytest.raises(SettingsError, match=f"http.port 0 on {ELSEWHERE}: "):
        serve.serve(settings, lambda: settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ELSEWHERE])
def test_what_is_no_loopback_address_is_refused(host):
    with pytest.raises(SettingsError, match="others could reach it"):
        serve._listen(host, 0, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_loopback_needs_no_keys(host):
    serve._listen(host, 0, False).close()


def test_keys_and_tokens_in_the_environment_are_not_handed_to_workers():
    secrets = {
        "RWKV_SERVER_HTTP_API_KEY": "rk-of-users",
        "rwkv_server_http_admin_key": "rk-of-admins",  # which is read as well
        "HF_TOKEN": "hf-token",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=otel-secret",
    }
    with ServerProcess(RWKV_ISA_OF_A_TEST="kept", **secrets) as server:
        server.wait_until_ready()
        (worker,) = server.workers()
        known = (Path(f"/proc/{worker.pid}/{of}").read_text() for of in ("environ", "cmdline"))
        known = "".join(known)
        assert "RWKV_ISA_OF_A_TEST=kept" in known
        assert not [name for name, secret in secrets.items() if name in known or secret in known]
        with server.client(headers={"authorization": "Bearer rk-of-admins"}) as http:
            assert http.get("/metrics").status_code == 200
