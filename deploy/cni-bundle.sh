#!/bin/sh
# Gathers the CNI plugin and everything that it runs with into a folder: Python, its library, nft and ip, the libraries of
# these, and the loader of them all. Nodes have none of it, or other versions.
#
#   cni-bundle.sh FOLDER PACKAGE    PACKAGE is the folder of the installed package `dragoman`
#
# bin/NAME runs libexec/NAME with the bundle's own loader and libraries; it needs nothing of the node but /bin/sh.
set -eu
folder=$1
package=$2
version=$(python3 -c 'import sys; print(f"python{sys.version_info.major}.{sys.version_info.minor}")')
library=$(python3 -c 'import os; print(os.path.dirname(os.__file__))')

mkdir -p "$folder/bin" "$folder/libexec" "$folder/lib/$version/dragoman"
cp -L "$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')" "$folder/libexec/python3"
for program in nft ip; do
    cp -L "$(command -v "$program")" "$folder/libexec/$program"
done
cp -rL "$library/." "$folder/lib/$version/"
rm -rf "$folder/lib/$version/site-packages" "$folder/lib/$version/test" "$folder/lib/$version"/config-*
# The package's own begins with what Envoy's messages need, of which there are none here.
: > "$folder/lib/$version/dragoman/__init__.py"
cp -r "$package/capture" "$folder/lib/$version/dragoman/"
find "$folder" -name __pycache__ -prune -exec rm -rf {} +

find "$folder/libexec" "$folder/lib" -type f \( -perm -100 -o -name '*.so*' \) | while read -r file; do
    ldd "$file" 2>/dev/null | sed -n 's|.*=> \(/[^ ]*\) .*|\1|p; s|^[[:space:]]*\(/[^ ]*ld-[^ ]*\) .*|\1|p'
done | sort -u | while read -r needed; do
    cp -L "$needed" "$folder/lib/"
done
loader=$(basename "$(ldd "$folder/libexec/python3" | sed -n 's|^[[:space:]]*\(/[^ ]*ld-[^ ]*\) .*|\1|p')")
for program in python3 nft ip; do
    cat > "$folder/bin/$program" <<END
#!/bin/sh
bundle=\${0%/*}/..
exec "\$bundle/lib/$loader" --library-path "\$bundle/lib" "\$bundle/libexec/$program" "\$@"
END
    chmod 755 "$folder/bin/$program"
done
# A node's file system is not written to while pods are made.
"$folder/bin/python3" -I -m compileall -q --invalidation-mode unchecked-hash "$folder/lib/$version"
