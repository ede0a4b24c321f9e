# One image: the operator, the proxies and the command line.
#   docker build -t agentaccess .
# BUNDLE=prebuilt takes build/image as `make bundle` left it, for builds without a network.
ARG BASE_IMAGE=node:24-slim
ARG BUNDLE=build

FROM ${BASE_IMAGE} AS build
WORKDIR /src
COPY . .
RUN npm install --no-save --no-audit --no-fund && node scripts/bundle.ts

FROM scratch AS prebuilt
COPY build/image /src/build/image

FROM ${BUNDLE} AS bundle

FROM ${BASE_IMAGE}
COPY --from=bundle /src/build/image /app
# Code is compiled once, here, not at every start: it is a third of a second and some megabytes.
ENV NODE_COMPILE_CACHE=/app/compile-cache
RUN for program in proxy operator kubectl-agentaccess; do node --disable-warning=ExperimentalWarning /app/$program.js --version >/dev/null 2>&1 || true; done \
 && printf '#!/bin/sh\nexec node --disable-warning=ExperimentalWarning /app/kubectl-agentaccess.js "$@"\n' >/usr/local/bin/kubectl-agentaccess \
 && chmod 755 /usr/local/bin/kubectl-agentaccess
USER 65532:65532
ENTRYPOINT ["kubectl-agentaccess"]
CMD ["--help"]
