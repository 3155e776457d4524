# A package of pen for OpenWrt: copy this file to package/pen/Makefile in a tree of OpenWrt that has the feed "packages", and
# the tarball to dl/, or say in PKG_SOURCE_URL and PKG_HASH where it comes from.

include $(TOPDIR)/rules.mk

PKG_NAME:=pen
PKG_VERSION:=1.0.0
PKG_RELEASE:=1

PKG_SOURCE:=$(PKG_NAME)-$(PKG_VERSION).tar.gz
PKG_SOURCE_URL:=
PKG_HASH:=skip

PKG_LICENSE:=MIT OR Apache-2.0
PKG_LICENSE_FILES:=LICENSE-MIT LICENSE-APACHE

PKG_BUILD_DEPENDS:=rust/host
PKG_BUILD_PARALLEL:=1

include $(INCLUDE_DIR)/package.mk
include $(TOPDIR)/feeds/packages/lang/rust/rust-package.mk

define Package/pen
  SECTION:=net
  CATEGORY:=Network
  TITLE:=Load balancer for TCP and UDP
  DEPENDS:=$(RUST_ARCH_DEPENDS) +libopenssl
endef

define Package/pen/description
  pen makes several servers look like one and sends clients back to the server that they used last.
endef

# What the administrator has changed survives an upgrade.
define Package/pen/conffiles
/etc/config/pen
endef

define Package/pen/install
	$(INSTALL_DIR) $(1)/usr/bin
	$(INSTALL_BIN) $(PKG_INSTALL_DIR)/bin/pen $(PKG_INSTALL_DIR)/bin/penctl $(1)/usr/bin/
	$(MAKE) -C $(PKG_BUILD_DIR) install-procd DESTDIR=$(1) PREFIX=/usr
endef

$(eval $(call RustBinPackage,pen))
$(eval $(call BuildPackage,pen))
