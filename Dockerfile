# The main job in a container, with the kernel ready:
#
#     docker build -t igpt .
#     docker run --rm -v "$PWD/out:/igpt/target/notebooks" igpt         # every notebook, and its report in out/
#     docker run --rm -it igpt run --check
#
# tests/container/chroot.sh runs these very steps without Docker; tests/container.rs compares them with .ci/run.

# What the notebooks need beside the checkout. .devcontainer takes only this part.
FROM rust:1.95-bookworm AS tools
RUN apt-get update -q && apt-get install -y -q --no-install-recommends build-essential python3 python3-venv
RUN rustup component add rust-src rustfmt clippy

FROM tools
WORKDIR /igpt
COPY . .
RUN python3 -m venv .venv
RUN .venv/bin/pip install --quiet --requirement tests/jupyter/requirements.txt
RUN ./igpt setup
ENTRYPOINT ["./igpt"]
CMD ["run"]
