# Another base: docker build --build-arg BASE=registry.example/python:3.12-slim .
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway gateway
COPY compat compat
COPY backends backends
RUN python -m venv /opt/nephele \
 && /opt/nephele/bin/pip install --no-cache-dir --constraint constraints.txt ".[cli]" \
 && /opt/nephele/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
COPY --from=build /opt/nephele /opt/nephele
RUN useradd --uid 4566 --create-home --shell /usr/sbin/nologin nephele \
 && install -d -o nephele -g nephele -m 0700 /var/lib/nephele
USER nephele
ENV PATH=/opt/nephele/bin:$PATH \
    NEPHELE_HOST=0.0.0.0 \
    NEPHELE_DATA_DIR=/var/lib/nephele
VOLUME /var/lib/nephele
EXPOSE 4566
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"NEPHELE_PORT\", 4566)}/_nephele/health', timeout=4)"]
CMD ["nephele", "serve"]
