#!/bin/sh
# Brings the viewer of the documentation page into the package: a pinned release of swagger-ui-dist, checked by its digest.
# The files are committed, so that neither an installation nor the running server fetches anything.
# To take a newer release: change version and digest, run this, look at the page, and commit what changed.
set -eu
version=5.35.0
digest=1b8e891893404ea4c3558b6a87e2a3e494e7eedba41168c2ece5800a391a6ea6
into=$(dirname "$0")/../src/freehold/server/assets
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

curl --silent --show-error --fail --output "$work/archive.tgz" \
    "https://registry.npmjs.org/swagger-ui-dist/-/swagger-ui-dist-$version.tgz"
echo "$digest  $work/archive.tgz" | sha256sum --check --quiet
tar -xzf "$work/archive.tgz" -C "$work"
cp "$work/package/swagger-ui-bundle.js" "$work/package/swagger-ui.css" "$into/"
cp "$work/package/LICENSE" "$into/swagger-ui.LICENSE"
cp "$work/package/NOTICE" "$into/swagger-ui.NOTICE"
cp "$work/package/swagger-ui-bundle.js.LICENSE.txt" "$into/swagger-ui-bundle.LICENSE"
