# Sourced by the run.sh of a peer: makes sure of a virtual environment with the peer's requirements, in the folder `venv`
# (if that is empty: target/peers/NAME). Sets `here` (the peer's folder) and `python`, and goes to the checkout.
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
venv=${venv:-$PWD/target/peers/$(basename "$here")}
python=$venv/bin/python
if ! [ -x "$python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
