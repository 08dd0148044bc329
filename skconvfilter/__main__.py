"""``python -m skconvfilter`` prints versions of packages and kernels, for bug reports."""

from skconvfilter.kernels.versions import show_versions

if __name__ == "__main__":
    show_versions()
