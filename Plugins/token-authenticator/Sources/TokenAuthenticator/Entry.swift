public import CSkeinPlugin
import SkeinPluginKit

@c @implementation
public func skein_plugin_entry(_ host: UnsafePointer<skein_host>?) -> UnsafePointer<skein_plugin>? {
  Plugin.export(host, "org.skein.tokens", "1.0.0", .authenticator(TokenAuthenticator.self))
}
