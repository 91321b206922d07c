# fasthoag for servers with NVIDIA GPUs. Driver and nvidia-container-toolkit are on the host:
#   docker build --tag fasthoag .
#   docker run --rm --gpus all fasthoag info
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --volume "$PWD:/data" \
#       fasthoag tune train.svm --device gpu --cv 5 --out model.npz
FROM nvidia/cuda:12.9.1-runtime-ubuntu24.04 AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/fasthoag
WORKDIR /src
COPY . .
# CuPy compiles what it computes for the device: NVRTC is in the image, CUDA's headers, of the same
# version, in the last wheel.
RUN /opt/fasthoag/bin/pip install --no-cache-dir ".[cli,gpu12]" "nvidia-cuda-runtime-cu12==12.9.*"

FROM nvidia/cuda:12.9.1-runtime-ubuntu24.04
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/fasthoag /opt/fasthoag
# A user of the host's has no home here, where CuPy would keep what it compiled.
ENV PATH=/opt/fasthoag/bin:$PATH CUPY_CACHE_DIR=/tmp/cupy
USER ubuntu
WORKDIR /data
ENTRYPOINT ["fasthoag"]
CMD ["info"]
