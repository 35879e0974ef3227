#!/usr/bin/env bash
# Fetches the vendored libraries anew from npm and prints the table for VENDOR.md. Run it in this folder, look at what
# changed, and put the printed lines into VENDOR.md. Versions: those in the line below.
set -euo pipefail
cd "$(dirname "$0")"
packages="vega@6.4.0 vega-lite@6.4.3 vega-interpreter@2.3.2"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
for package in $packages d3-array@3.2.5 topojson-client@3.1.0; do
  name=${package%@*}
  mkdir "$work/$name"
  tar -xzf "$work/$(cd "$work" && npm pack --silent "$package")" -C "$work/$name" --strip-components 1
  cp "$work/$name/LICENSE" "LICENSE-$name.txt"
done
mv LICENSE-d3-array.txt LICENSE-d3.txt
sed '/^\/\/# sourceMappingURL/d' "$work/vega/build/vega.min.js" > vega.min.js
sed '/^\/\/# sourceMappingURL/d' "$work/vega-lite/build/vega-lite.min.js" > vega-lite.min.js
# npm has the interpreter as a module only. Its one import becomes a look-up, its one export an assignment.
{
  echo '(function (vega) {'
  sed -e 's/^import \(.*\) from .vega-util.;$/const \1 = vega;/' \
    -e 's/^export { expression as expressionInterpreter };$/vega.expressionInterpreter = expression;/' \
    -e '/^\/\/# sourceMappingURL/d' "$work/vega-interpreter/build/vega-interpreter.js"
  echo '})(vega);'
} > vega-interpreter.js
for package in $packages; do
  file=${package%@*}.js
  [ -e "$file" ] || file=${package%@*}.min.js
  echo "| $file | ${package%@*} | ${package#*@} | \`$(sha256sum "$file" | cut -d' ' -f1)\` |"
done
