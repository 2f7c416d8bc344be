#!/usr/bin/env bash
# Renews the assets of the pages from the npm registry, at the versions below, and writes down what
# they are in vendor.toml. For whoever changes a version; nothing else needs npm.
set -euo pipefail
cd "$(dirname "$0")/.."
into=gatekeeper/admin/static/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# package version licence files
assets="bootstrap 5.3.9 MIT dist/css/bootstrap.min.css,dist/js/bootstrap.bundle.min.js
htmx.org 2.0.11 0BSD dist/htmx.min.js
idiomorph 0.8.0 0BSD dist/idiomorph-ext.min.js
chart.js 4.6.1 MIT dist/chart.umd.min.js
@fontsource-variable/inter 5.3.0 OFL-1.1 files/inter-latin-wght-normal.woff2,files/inter-latin-ext-wght-normal.woff2,files/inter-cyrillic-wght-normal.woff2,files/inter-greek-wght-normal.woff2
bootstrap-icons 1.13.2 MIT -"

mkdir -p "$into/fonts"
: > "$into/vendor.toml"
while read -r package version licence files; do
    (cd "$work" && npm install --silent --no-save --ignore-scripts "$package@$version")
    from="$work/node_modules/$package"
    cp "$from"/LICENSE* "$into/LICENSE-$(basename "$package").txt"
    {
        printf '[[asset]]\npackage = "%s"\nversion = "%s"\nlicence = "%s"\n' "$package" "$version" "$licence"
        printf '[asset.sha256]\n'
    } >> "$into/vendor.toml"
    [ "$files" = - ] && { printf '\n' >> "$into/vendor.toml"; continue; }
    for file in ${files//,/ }; do
        name=$(basename "$file")
        case "$name" in *.woff2) name="fonts/$name" ;; esac
        # The maps of minified files are not shipped.
        case "$name" in
            *.woff2) cp "$from/$file" "$into/$name" ;;
            *) sed '/sourceMappingURL/d' "$from/$file" > "$into/$name" ;;
        esac
        printf '"%s" = "%s"\n' "$name" "$(sha256sum "$into/$name" | cut -d' ' -f1)" >> "$into/vendor.toml"
    done
    printf '\n' >> "$into/vendor.toml"
done <<< "$assets"
# The icons that pages use, each a file.
for icon in gatekeeper/admin/static/icons/*.svg; do
    cp "$work/node_modules/bootstrap-icons/icons/$(basename "$icon")" "$icon"
done
